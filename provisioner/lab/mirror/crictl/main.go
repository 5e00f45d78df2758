// A stand-in for crictl, for machines that cannot get cri-tools: the commands that kubeadm calls (info, pull,
// inspecti, pods, stopp, rmp) and the few that a person types first (ps, images, logs, version), as real CRI
// calls made with the client library of the Kubernetes tree in which this file is compiled.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
	"k8s.io/kubernetes/pkg/kubelet/cri/remote"
	"sigs.k8s.io/yaml"
)

const (
	configFile      = "/etc/crictl.yaml"
	defaultEndpoint = "unix:///run/containerd/containerd.sock"
	usage           = `crictl (stand-in): a small CRI client
usage: crictl [-r ENDPOINT] [-t TIMEOUT] COMMAND
  info | version | images [-q] | pull IMAGE | inspecti IMAGE
  pods [-q] | stopp POD... | rmp [-f] POD... | ps [-a] [-q] | logs CONTAINER
`
)

type client struct {
	runtime internalapi.RuntimeService
	images  internalapi.ImageManagerService
}

type options struct {
	all, quiet bool
	names      []string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	var endpoint string
	var timeout time.Duration
	global := flag.NewFlagSet("crictl", flag.ExitOnError)
	global.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	for _, name := range []string{"r", "runtime-endpoint"} {
		global.StringVar(&endpoint, name, "", "address of the CRI socket")
	}
	for _, name := range []string{"t", "timeout"} {
		// Generous: an emulated machine may take minutes over one image.
		global.DurationVar(&timeout, name, 10*time.Minute, "limit of one call")
	}
	version := global.Bool("version", false, "say what this is")
	if err := global.Parse(arguments); err != nil {
		return err
	}
	if *version {
		fmt.Println("crictl stand-in, CRI v1alpha2")
		return nil
	}
	if global.NArg() == 0 {
		global.Usage()
		return errors.New("no command")
	}
	if endpoint == "" {
		endpoint = configured()
	}
	service, err := remote.NewRemoteRuntimeService(endpoint, timeout)
	if err != nil {
		return err
	}
	images, err := remote.NewRemoteImageService(endpoint, timeout)
	if err != nil {
		return err
	}
	return command(client{service, images}, global.Arg(0), parse(global.Args()[1:]), os.Stdout)
}

// configured returns the endpoint of crictl's own configuration file, or containerd's socket.
func configured() string {
	var values struct {
		Endpoint string `json:"runtime-endpoint"`
	}
	if text, err := ioutil.ReadFile(configFile); err == nil && yaml.Unmarshal(text, &values) == nil && values.Endpoint != "" {
		return values.Endpoint
	}
	return defaultEndpoint
}

func parse(arguments []string) options {
	var o options
	for _, word := range arguments {
		switch word {
		case "-a", "--all":
			o.all = true
		case "-q", "--quiet":
			o.quiet = true
		case "-f", "--force":
		default:
			o.names = append(o.names, word)
		}
	}
	return o
}

func command(c client, name string, o options, out io.Writer) error {
	switch name {
	case "version":
		answer, err := c.runtime.Version("")
		return printed(out, answer, err)
	case "info":
		answer, err := c.runtime.Status()
		return printed(out, answer, err)
	case "images":
		return listImages(c, o, out)
	case "pods":
		return listPods(c, o, out)
	case "ps":
		return listContainers(c, o, out)
	}
	if len(o.names) == 0 {
		return fmt.Errorf("%s is not a command here, or needs a name", name)
	}
	for _, subject := range o.names {
		var err error
		switch name {
		case "pull":
			var reference string
			reference, err = c.images.PullImage(&runtimeapi.ImageSpec{Image: subject}, nil, nil)
			if err == nil {
				fmt.Fprintln(out, "Image is up to date for", reference)
			}
		case "inspecti":
			err = inspectImage(c, subject, out)
		case "stopp":
			err = c.runtime.StopPodSandbox(subject)
		case "rmp":
			err = c.runtime.RemovePodSandbox(subject)
		case "logs":
			err = logs(c, subject, out)
		default:
			return fmt.Errorf("%s is not a command of this stand-in", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func printed(out io.Writer, answer interface{}, err error) error {
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}

func inspectImage(c client, name string, out io.Writer) error {
	image, err := c.images.ImageStatus(&runtimeapi.ImageSpec{Image: name})
	if err == nil && image == nil {
		err = fmt.Errorf("no such image %q present", name)
	}
	return printed(out, image, err)
}

func listImages(c client, o options, out io.Writer) error {
	images, err := c.images.ListImages(nil)
	if err != nil {
		return err
	}
	return table(out, o.quiet, "IMAGE ID\tSIZE\tTAGS", len(images), func(i int) (string, string) {
		return images[i].Id, fmt.Sprintf("%d\t%s", images[i].Size_, strings.Join(images[i].RepoTags, " "))
	})
}

func listPods(c client, o options, out io.Writer) error {
	pods, err := c.runtime.ListPodSandbox(nil)
	if err != nil {
		return err
	}
	return table(out, o.quiet, "POD ID\tSTATE\tNAMESPACE\tNAME", len(pods), func(i int) (string, string) {
		pod := pods[i]
		return pod.Id, fmt.Sprintf("%s\t%s\t%s", pod.State, pod.Metadata.Namespace, pod.Metadata.Name)
	})
}

func listContainers(c client, o options, out io.Writer) error {
	var filter *runtimeapi.ContainerFilter
	if !o.all {
		running := runtimeapi.ContainerState_CONTAINER_RUNNING
		filter = &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: running}}
	}
	found, err := c.runtime.ListContainers(filter)
	if err != nil {
		return err
	}
	return table(out, o.quiet, "CONTAINER\tCREATED\tSTATE\tNAME\tATTEMPT\tPOD", len(found), func(i int) (string, string) {
		one := found[i]
		created := time.Unix(0, one.CreatedAt).UTC().Format(time.RFC3339)
		pod := one.Labels["io.kubernetes.pod.name"]
		return one.Id, fmt.Sprintf("%s\t%s\t%s\t%d\t%s", created, one.State, one.Metadata.Name, one.Metadata.Attempt, pod)
	})
}

// table prints rows of (identifier, rest), the identifier cut to 13 digits as crictl does, or whole and alone.
func table(out io.Writer, quiet bool, heading string, rows int, row func(int) (string, string)) error {
	writer := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !quiet {
		fmt.Fprintln(writer, heading)
	}
	for i := 0; i < rows; i++ {
		id, rest := row(i)
		if quiet {
			fmt.Fprintln(writer, id)
			continue
		}
		if bare := strings.TrimPrefix(id, "sha256:"); len(bare) > 13 {
			id = bare[:13]
		}
		fmt.Fprintf(writer, "%s\t%s\n", id, rest)
	}
	return writer.Flush()
}

// logs prints the container's log file; CRI takes a prefix of the identifier for the status of a container.
func logs(c client, id string, out io.Writer) error {
	status, err := c.runtime.ContainerStatus(id)
	if err != nil {
		return err
	}
	file, err := os.Open(status.LogPath)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(out, file)
	return err
}
