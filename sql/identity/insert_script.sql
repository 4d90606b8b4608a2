-- Records the SHA-256 of a script that was applied.
INSERT INTO schema_scripts VALUES ($version, $sha256);
