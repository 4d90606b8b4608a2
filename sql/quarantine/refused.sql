-- Selects the refused rows of a batch in their order. defective reports that the row is not JSON.
SELECT line, reason, raw, defect IS NOT NULL AS defective
FROM staged WHERE reason IS NOT NULL ORDER BY staged.line, staged.rowid;
