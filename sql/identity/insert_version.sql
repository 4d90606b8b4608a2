-- Records that a script was applied.
INSERT INTO schema_version (version, applied_at) VALUES ($version, now());
