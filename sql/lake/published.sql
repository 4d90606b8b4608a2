DELETE FROM unpublished WHERE dataset = $dataset AND month = $month AND seq <= $seq;
