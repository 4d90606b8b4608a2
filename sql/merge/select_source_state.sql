SELECT state::VARCHAR FROM source_states WHERE source = $source;
