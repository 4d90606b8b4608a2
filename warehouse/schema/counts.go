package schema

// Counts holds the numbers of rows of a merge by outcome. Read is the sum of the others except Dropped.
type Counts struct {
	Read       int64 `json:"read"`
	New        int64 `json:"new"`
	Changed    int64 `json:"changed"`
	Unchanged  int64 `json:"unchanged"`
	Deleted    int64 `json:"deleted"`    // deleted by their source, including rows that did not exist here
	Superseded int64 `json:"superseded"` // older than the existing version of the row
	Erased     int64 `json:"erased"`     // of an erased customer, or older than the rows that the tenant keeps
	Refused    int64 `json:"refused"`    // invalid, stored in the quarantine
	Dropped    int64 `json:"dropped"`    // refused rows lost because the quarantine was full
}

// Add adds other to c.
func (c *Counts) Add(other Counts) {
	c.Read += other.Read
	c.New += other.New
	c.Changed += other.Changed
	c.Unchanged += other.Unchanged
	c.Deleted += other.Deleted
	c.Superseded += other.Superseded
	c.Erased += other.Erased
	c.Refused += other.Refused
	c.Dropped += other.Dropped
}
