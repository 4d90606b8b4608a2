SELECT count(*), count(reason) FROM staged;
