package main

import (
	"fmt"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	"github.com/muesli/roff"
)

type manCommand struct{}

// Run prints the manual page in the roff format of man(7).
func (c *manCommand) Run(m *Main, program *kong.Kong) error {
	_, err := fmt.Fprint(m.Stdout, mangokong.NewManPage(1, program.Model).Build(roff.NewDocument()))
	return err
}
