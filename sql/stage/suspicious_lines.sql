(SELECT rowid AS line, raw AS text, defect, NULL::VARCHAR AS tenant FROM staged WHERE raw IS NOT NULL)
