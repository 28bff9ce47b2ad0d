// Command cni-calls makes the calls that container runtimes make of CNI plugins, in their order, through the libraries that
// they use.
//
// usage: cni-calls CLIENT STEP <request.json
//
// It prints one JSON object: the result of the client's library, or the error that it reports to its user.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/containerd/go-cni"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// request is what a runtime knows about one container.
type request struct {
	ID       string   // the container's, as the runtime hands it to plugins
	NetNS    string   // path of its network namespace, or "" where the runtime has none
	IfName   string   // of the one interface, where the client chooses it
	Networks []string // names, in the order of their interfaces
	BinDir   string
	CacheDir string // libcni's own if ""

	IP, MAC, IP6, Hostname string            // what its user asked for, or ""
	Ports                  []cni.PortMapping // published
	Annotations            map[string]string // of a pod
	DeviceID               string            // that a Kubernetes device plugin has allocated, or ""
	Capabilities           map[string]any    // what a Multus annotation asks for
	CNIArgs                map[string]any    // of a Multus annotation
	Valid                  []types.GCAttachment
}

// answer is what the client has after the step.
type answer struct {
	Error      string         `json:",omitempty"`
	Interfaces map[string]any `json:",omitempty"` // as go-cni sees them
	Result     any            `json:",omitempty"` // of libcni
	Ignored    string         `json:",omitempty"` // an error that the client does not look at
}

const confDir = "/etc/cni/net.d"

var steps = map[string]func(context.Context, *request, *answer) error{
	"nerdctl create-runtime":    nerdctlCreateRuntime,
	"nerdctl post-stop":         nerdctlPostStop,
	"containerd run-pod":        containerdRunPod,
	"containerd stop-pod":       containerdStopPod,
	"containerd status":         containerdStatus,
	"crio load":                 crioLoad,
	"crio run-pod":              crioRunPod,
	"crio stop-pod":             crioStopPod,
	"crio status":               crioStatus,
	"crio gc":                   crioGC,
	"multus add":                multusAdd,
	"multus drop-default-route": multusDropDefaultRoute,
	"multus check":              multusCheck,
	"multus del":                multusDel,
}

func main() {
	if len(os.Args) != 3 || steps[os.Args[1]+" "+os.Args[2]] == nil {
		known := make([]string, 0, len(steps))
		for step := range steps {
			known = append(known, step)
		}
		sort.Strings(known)
		fmt.Fprintln(os.Stderr, "usage: cni-calls CLIENT STEP <request.json; steps:", known)
		os.Exit(2)
	}
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "cni-calls: no request:", err)
		os.Exit(2)
	}
	var said answer
	if err := steps[os.Args[1]+" "+os.Args[2]](context.Background(), &asked, &said); err != nil {
		said.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}

// lists loads the networks of a request, in its order.
func lists(asked *request) ([]*libcni.NetworkConfigList, error) {
	found := make([]*libcni.NetworkConfigList, 0, len(asked.Networks))
	for _, name := range asked.Networks {
		list, err := libcni.LoadConfList(confDir, name)
		if err != nil {
			return nil, err
		}
		found = append(found, list)
	}
	return found, nil
}

// library returns libcni as a client uses it.
func library(asked *request) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir([]string{asked.BinDir}, asked.CacheDir, nil)
}

// seen copies a result of go-cni into an answer.
func seen(said *answer, result *cni.Result) {
	said.Interfaces = map[string]any{}
	for name, found := range result.Interfaces {
		said.Interfaces[name] = found
	}
	said.Result = result.Raw()
}

// cached returns the path of libcni's cached result of an attachment.
func cached(asked *request, network string) string {
	folder := asked.CacheDir
	if folder == "" {
		folder = libcni.CacheDir
	}
	return filepath.Join(folder, "results", fmt.Sprintf("%s-%s-%s", network, asked.ID, asked.IfName))
}
