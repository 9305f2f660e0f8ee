// kubeapi is a Kubernetes API server for tests.
//
// It is the real k8s.io/apiserver library (storage in etcd, watch cache, bookmarks, 410 Gone, authentication, authorization) serving the
// real k8s.io/api types of the few resources that discovery reads. What a cluster adds is left out: no controllers, so that a test
// writes its slices itself; no RBAC objects, because rights come from the user's groups (access.go); hardly any validation (resources.go).
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"kubeapi/openapi"
)

type options struct {
	etcd    *genericoptions.EtcdOptions
	serving *genericoptions.SecureServingOptionsWithLoopback
	run     *genericoptions.ServerRunOptions
	tokens  string
}

func parse() options {
	codec := codecs.LegacyCodec(corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion)
	o := options{
		etcd:    genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", codec)),
		serving: genericoptions.NewSecureServingOptions().WithLoopback(),
		run:     genericoptions.NewServerRunOptions(),
	}
	fs := pflag.NewFlagSet("kubeapi", pflag.ExitOnError)
	o.etcd.AddFlags(fs)
	o.serving.AddFlags(fs)
	o.run.AddUniversalFlags(fs)
	fs.StringVar(&o.tokens, "token-auth-file", "", `lines of: token,user,uid,"group1,group2"`)
	show := fs.Bool("version", false, "print the version and exit")
	logging := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(logging)
	fs.AddGoFlag(logging.Lookup("v"))
	utilruntime.Must(fs.Parse(os.Args[1:]))
	if *show {
		fmt.Println(version.Get().GitVersion)
		os.Exit(0)
	}
	utilruntime.Must(o.run.ComponentGlobalsRegistry.Set())
	utilruntime.Must(o.run.Complete())
	utilruntime.Must(o.serving.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{net.IPv4(127, 0, 0, 1)}))
	return o
}

func config(o options) *genericapiserver.RecommendedConfig {
	cfg := genericapiserver.NewRecommendedConfig(codecs)
	utilruntime.Must(o.run.ApplyTo(&cfg.Config))
	utilruntime.Must(o.etcd.ApplyTo(&cfg.Config))
	utilruntime.Must(o.serving.ApplyToConfig(&cfg.Config))
	namer := openapinamer.NewDefinitionNamer(scheme)
	cfg.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	cfg.OpenAPIConfig.Info.Title = "kubeapi"
	cfg.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	cfg.OpenAPIV3Config.Info.Title = "kubeapi"
	cfg.Authentication.Authenticator = authentication(o.tokens)
	cfg.Authorization.Authorizer = authorization
	return cfg
}

// sayWhenReady logs one line once /readyz answers 200: whoever started the server waits for it and needs no TLS client for that.
func sayWhenReady(loopback *rest.Config) {
	client, err := rest.HTTPClientFor(loopback)
	utilruntime.Must(err)
	for {
		if answer, err := client.Get(loopback.Host + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				klog.Info("kubeapi is ready")
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func main() {
	cfg := config(parse())
	server, err := cfg.Complete().New("kubeapi", genericapiserver.NewEmptyDelegate())
	utilruntime.Must(err)
	install(server, cfg.RESTOptionsGetter)
	go sayWhenReady(cfg.LoopbackClientConfig)
	utilruntime.Must(server.PrepareRun().RunWithContext(genericapiserver.SetupSignalContext()))
}
