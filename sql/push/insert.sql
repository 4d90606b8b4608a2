INSERT INTO pushes VALUES ($key, $digest, $outcome, $at);
