package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"clusterctrl/internal/image/settings"
	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Write a settings file for build and flash",
		Example: "  clusterctrl config init",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return usagef("config: want init")
		},
	}
	cmd.AddCommand(configInitCommand())
	return cmd
}

const configInitHelp = `Init writes a settings file in which every setting is explained and commented out.
"build" and "flash" read a clusterctrl.toml that lies beside the base image. A file that
exists is not replaced; - prints the settings instead.`

func configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [FILE]",
		Short:   "Write a settings file with all settings explained",
		Long:    configInitHelp,
		Example: "  clusterctrl config init\n  clusterctrl config init classroom.toml",
		Args:    arguments(0, 1, "FILE, or none for "+settings.FileName),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := settings.FileName
			if len(args) > 0 {
				name = args[0]
			}
			if name == stdinName {
				_, err := io.WriteString(cmd.OutOrStdout(), settings.Template)
				return err
			}
			if err := writeNew(name, settings.Template); err != nil {
				return err
			}
			say(cmd, "%s: edit it, and put it beside the base image", name)
			return nil
		},
	}
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(name, text string) error {
	const private = 0o600 // it may hold a password
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, private)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: want another name", name)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
