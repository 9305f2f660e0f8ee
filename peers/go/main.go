// The client of gRPC's Go implementation that benchmarks measure evenkeel beside, as its users would write one.
//
//	peer --servers A:P,A:P,… [--policy round_robin] [--workers N] [--ca FILE]
//
// It connects, prints `ready`, and then answers each line of standard input, an order in JSON, with a line of results. docs/BENCHMARKS.md,
// section Peers, has the words.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/leastrequest"
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	pb "peer/echo"
)

// How long servers may take to be connected.
const patience = 20 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run() error {
	servers := flag.String("servers", "", "addresses with ports, separated by commas")
	policy := flag.String("policy", "round_robin", "a policy of this implementation, and after an equals sign its configuration in JSON")
	workers := flag.Int("workers", 0, "threads that run Go code at once; 0: as many as there are cores")
	ca := flag.String("ca", "", "a file with the authority to trust, in PEM; TLS if given")
	flag.Parse()
	if *servers == "" || flag.NArg() > 0 {
		return errors.New("it takes --servers A:P,… [--policy NAME] [--workers N] [--ca FILE]")
	}
	if *workers > 0 {
		runtime.GOMAXPROCS(*workers)
	}
	addresses := strings.Split(*servers, ",")
	connection, err := dial(addresses, *policy, *ca)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewEchoClient(connection)
	expected := len(addresses)
	if *policy == "pick_first" {
		expected = 1
	}
	if err := reachAll(client, expected); err != nil {
		return err
	}
	fmt.Println("ready")
	return obey(client)
}

// The addresses are given to the channel by a resolver, as a name's addresses are.
func dial(addresses []string, policy, ca string) (*grpc.ClientConn, error) {
	secure, err := transport(ca)
	if err != nil {
		return nil, err
	}
	builder := manual.NewBuilderWithScheme("list")
	state := resolver.State{}
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	builder.InitialState(state)
	name, settings, _ := strings.Cut(policy, "=")
	if settings == "" {
		settings = "{}"
	}
	config := fmt.Sprintf(`{"loadBalancingConfig":[{%q:%s}]}`, name, settings)
	return grpc.NewClient("list:///localhost", grpc.WithResolvers(builder), grpc.WithDefaultServiceConfig(config),
		grpc.WithTransportCredentials(secure))
}

func transport(ca string) (credentials.TransportCredentials, error) {
	if ca == "" {
		return insecure.NewCredentials(), nil
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}), nil
}

// A channel says that it is ready when one connection is; calls tell when all are.
func reachAll(client pb.EchoClient, expected int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen := map[string]bool{}
	for len(seen) < expected {
		var server peer.Peer
		_, err := client.Unary(ctx, &pb.EchoRequest{}, grpc.WaitForReady(true), grpc.Peer(&server))
		// A server that answers with an error was reached.
		if err != nil && (server.Addr == nil || ctx.Err() != nil) {
			return fmt.Errorf("%d of %d servers were reached: %w", len(seen), expected, err)
		}
		seen[server.Addr.String()] = true
	}
	return nil
}

func obey(client pb.EchoClient) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var order order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		result, err := order.run(client)
		if err != nil {
			return err
		}
		line, err := json.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return lines.Err()
}
