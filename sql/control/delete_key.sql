DELETE FROM keys WHERE id = $id::UUID;
