SELECT count(*) FROM {{dataset}} WHERE {{where}};
