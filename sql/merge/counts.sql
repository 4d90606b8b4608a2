SELECT count(*), count(coalesce(reason, raw)) FROM staged;
