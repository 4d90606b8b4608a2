-- Sets the reasons of the suspicious rows that are refused.
UPDATE staged SET reason = coalesce(suspects.defect, nullif(concat_ws('; ',
    CASE WHEN suspects.id IS NULL THEN 'id is missing' END,
    CASE WHEN suspects.user_id IS NULL AND staged.tenant_id IS NULL THEN 'user_id (the tenant) is missing'
         WHEN staged.tenant_id <> TRY_CAST(suspects.user_id AS UUID) THEN 'user_id is another tenant''s: ' || suspects.user_id END,
    CASE WHEN suspects.created_at IS NULL AND suspects.deleted_at IS NULL THEN 'created_at is missing' END,
    {{reasons}}), ''))
FROM suspects WHERE suspects.line = staged.rowid;
