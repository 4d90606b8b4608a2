-- What was no CSV at all.
INSERT INTO staged BY NAME
SELECT line, 'line is no CSV: ' || error_message AS reason, csv_line AS raw FROM reject_errors;
