-- Selects the published files that a manifest of an earlier schema version has, current or replaced.
SELECT export, month, name, bytes, sha256, replaced_at IS NOT NULL FROM published_files ORDER BY export, month;
