-- Sets the reasons of the suspicious rows that are refused.
UPDATE staged SET reason = coalesce(suspect[1].defect, nullif(concat_ws('; ',
    CASE WHEN suspect[1].id IS NULL THEN 'id is missing' END,
    CASE WHEN suspect[1].user_id IS NULL AND tenant_id IS NULL THEN 'user_id (the tenant) is missing'
         WHEN tenant_id <> TRY_CAST(suspect[1].user_id AS UUID) THEN 'user_id is another tenant''s: ' || suspect[1].user_id END,
    CASE WHEN suspect[1].created_at IS NULL AND suspect[1].deleted_at IS NULL THEN 'created_at is missing' END,
    {{reasons}}), ''))
WHERE suspect IS NOT NULL;
