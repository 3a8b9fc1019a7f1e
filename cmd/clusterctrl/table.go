package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// between is how many spaces are between two columns of a table.
const between = 2

// writeRows writes rows in columns that are aligned.
func writeRows(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, between, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(dashes(row), "\t"))
	}
	return table.Flush()
}

// tableWidth is how wide a table on standard output may be, 0 for any width: in a pipe,
// with --wide, and on a terminal that does not say.
func tableWidth(cmd *cobra.Command) int {
	if wide, _ := cmd.Flags().GetBool("wide"); wide || cmd.OutOrStdout() != os.Stdout {
		return 0
	}
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// addWide adds the flag for tables that are not to be cut.
func addWide(cmd *cobra.Command, order []string) {
	cmd.Flags().Bool("wide", false, "show all columns; else these give way, in this order: "+strings.ToLower(strings.Join(order, ", ")))
}

// fit leaves columns of a table out until it has width, in an order of their heads.
// What is left when all of them are out is shown, however wide.
func fit(rows [][]string, order []string, width int) [][]string {
	if width <= 0 || len(rows) == 0 {
		return rows
	}
	for _, head := range order {
		if widthOf(rows) <= width {
			break
		}
		at := slices.Index(rows[0], head)
		if at < 0 {
			continue
		}
		narrower := make([][]string, len(rows))
		for i, row := range rows {
			narrower[i] = slices.Delete(slices.Clone(row), at, at+1)
		}
		rows = narrower
	}
	return rows
}

// widthOf is how wide a table is, in characters.
func widthOf(rows [][]string) int {
	total := 0
	for column := range rows[0] {
		widest := 1 // of a dash
		for _, row := range rows {
			widest = max(widest, utf8.RuneCountInString(row[column]))
		}
		total += widest
	}
	return total + between*(len(rows[0])-1)
}
