-- Selects the refused rows that fit into the quarantine, in the order of their file.
SELECT file, line, dataset, tenant_id, reason, row FROM (
    SELECT {{origin}} AS file, {{line}} AS line, {{dataset}} AS dataset, {{tenant}} AS tenant_id, reason, raw AS row,
           sum(strlen(raw) + strlen(reason)) OVER (ORDER BY staged.line, staged.rowid ROWS UNBOUNDED PRECEDING) AS size, staged.line AS place
    FROM staged WHERE reason IS NOT NULL
) WHERE size <= {{room}} ORDER BY place
