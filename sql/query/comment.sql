COMMENT ON VIEW {{export}} IS {{text}};
