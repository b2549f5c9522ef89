package afar_test

func hasChildren() bool { return false }
