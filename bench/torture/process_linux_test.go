package torture

import "syscall"

// dieWithParent returns attributes that end a process with the test.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
