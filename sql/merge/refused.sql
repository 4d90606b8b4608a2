-- What the quarantine keeps of the staged rows, in the order of their file.
SELECT {{origin}} AS file, line, {{dataset}} AS dataset, reason, raw AS row FROM staged WHERE reason IS NOT NULL ORDER BY line
