SELECT DISTINCT file FROM source_files WHERE source = $source;
