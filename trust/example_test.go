package trust_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/afar-go/afar/trust"
)

// A node lets in a caller with a limit, and the caller knows the node.
func Example() {
	dir, err := os.MkdirTemp("", "trust")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	node, _ := trust.NewKey("node")
	caller, _ := trust.NewKey("ada@example")

	authorized := &trust.AuthorizedKeys{Path: filepath.Join(dir, "authorized_keys")}
	if err := authorized.Append(trust.Grant{Key: caller.Public(), Comment: caller.Comment(), Workers: 4}); err != nil {
		log.Fatal(err)
	}
	known := &trust.KnownNodes{Path: filepath.Join(dir, "known_nodes")}
	if err := known.Add("build1:7227", node.Public()); err != nil {
		log.Fatal(err)
	}

	near, far := net.Pipe() // net.Dial and net.Listen elsewhere
	defer near.Close()
	done := make(chan *trust.Peer)
	go func() {
		_, peer, err := trust.Server(context.Background(), far, &trust.ServerConfig{Key: node, Authorized: authorized})
		if err != nil {
			log.Print(err)
		}
		done <- peer
	}()
	_, err = trust.Client(context.Background(), near, &trust.ClientConfig{Key: caller, Address: "build1:7227", Known: known})
	if err != nil {
		log.Fatal(err)
	}
	peer := <-done
	fmt.Println(peer.Grant.Comment, "may have", peer.Grant.Workers, "workers")
	// Output: ada@example may have 4 workers
}
