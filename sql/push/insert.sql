INSERT INTO pushes VALUES ({{key}}, unhex({{digest}}), {{outcome}}, {{at}});
