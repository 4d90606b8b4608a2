CASE WHEN transcript IS NULL OR transcript IS NOT DISTINCT FROM turns_of_call(NULL::JSON, metadata) THEN NULL
     ELSE to_json(list_transform(transcript, lambda turn:
         CASE WHEN turn.timestamp_ms IS NULL THEN json_object('speaker', turn.speaker, 'text', turn.text)
              ELSE json_object('speaker', turn.speaker, 'text', turn.text, 'timestamp_ms', turn.timestamp_ms) END)) END
