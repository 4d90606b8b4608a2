-- Why the faulty rows are refused.
UPDATE staged SET reason = coalesce(suspect.defect, concat_ws('; ',
    CASE WHEN suspect.id IS NULL THEN 'id is missing' END,
    CASE WHEN suspect.user_id IS NULL AND tenant_id IS NULL THEN 'user_id (the tenant) is missing'
         WHEN tenant_id <> TRY_CAST(suspect.user_id AS UUID) THEN 'user_id is another tenant''s: ' || suspect.user_id END,
    CASE WHEN suspect.created_at IS NULL AND suspect.deleted_at IS NULL THEN 'created_at is missing' END,
    {{reasons}}))
WHERE suspect IS NOT NULL;
