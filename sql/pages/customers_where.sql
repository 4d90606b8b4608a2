created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($source::VARCHAR IS NULL OR source = $source::VARCHAR)
AND ($search::VARCHAR IS NULL
     OR contains(lower(name), lower($search::VARCHAR))
     OR contains(lower(email), lower($search::VARCHAR))
     OR contains(lower(phone_number), lower($search::VARCHAR)))
