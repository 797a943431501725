"""One policy a file: each looks at the snapshot and changes the draft of the plan."""
