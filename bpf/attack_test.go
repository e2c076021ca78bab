package bpf

func roleAttack(args []string) error { return nil }
