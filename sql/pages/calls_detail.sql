struct_insert({{item}}, stt_minutes := stt_minutes, tts_characters := tts_characters)
