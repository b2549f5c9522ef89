package launch_test

func hasChildren() bool { return false }
