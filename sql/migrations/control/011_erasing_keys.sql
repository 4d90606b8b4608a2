-- Whether the key may erase customers.
ALTER TABLE keys ADD COLUMN allow_erase BOOLEAN DEFAULT false;
