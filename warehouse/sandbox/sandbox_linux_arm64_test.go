package sandbox

// unfiltered are the calls that the kernel makes without asking any filter: none.
var unfiltered []int
