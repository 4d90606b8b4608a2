DELETE FROM restores WHERE tenant_id = {{tenant}}::UUID;
INSERT INTO restores VALUES ({{tenant}}::UUID, now(), {{source}}, {{backup}}, {{backup_at}}::TIMESTAMPTZ, {{seq}}, {{whole}});
