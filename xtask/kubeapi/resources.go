package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

// The version that is served is registered as the internal one too, so that converting between them changes nothing.
func init() {
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(discoveryv1.AddToScheme(scheme))
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, served := range []schema.GroupVersion{corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion} {
		internal := schema.GroupVersion{Group: served.Group, Version: runtime.APIVersionInternal}
		for kind, t := range scheme.KnownTypes(served) {
			if t.PkgPath() == "k8s.io/apimachinery/pkg/apis/meta/v1" {
				continue
			}
			object, err := scheme.New(served.WithKind(kind))
			utilruntime.Must(err)
			scheme.AddKnownTypeWithName(internal.WithKind(kind), object)
		}
		utilruntime.Must(scheme.SetVersionPriority(served))
	}
}

// install serves the resources at the paths they have in a cluster.
func install(server *genericapiserver.GenericAPIServer, getter generic.RESTOptionsGetter) {
	parameters := runtime.NewParameterCodec(scheme)
	core := genericapiserver.NewDefaultAPIGroupInfo("", scheme, parameters, codecs)
	core.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{
		"configmaps": newStore(getter, "", "configmaps", "configmap", true,
			func() runtime.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} }),
		"namespaces": newStore(getter, "", "namespaces", "namespace", false,
			func() runtime.Object { return &corev1.Namespace{} }, func() runtime.Object { return &corev1.NamespaceList{} }),
		"nodes": newStore(getter, "", "nodes", "node", false,
			func() runtime.Object { return &corev1.Node{} }, func() runtime.Object { return &corev1.NodeList{} }),
		"services": newStore(getter, "", "services", "service", true,
			func() runtime.Object { return &corev1.Service{} }, func() runtime.Object { return &corev1.ServiceList{} }),
	}
	utilruntime.Must(server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &core))
	discovery := genericapiserver.NewDefaultAPIGroupInfo(discoveryv1.GroupName, scheme, parameters, codecs)
	discovery.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{
		"endpointslices": newStore(getter, discoveryv1.GroupName, "endpointslices", "endpointslice", true,
			func() runtime.Object { return &discoveryv1.EndpointSlice{} }, func() runtime.Object { return &discoveryv1.EndpointSliceList{} }),
	}
	utilruntime.Must(server.InstallAPIGroups(&discovery))
}

func newStore(getter generic.RESTOptionsGetter, group, plural, singular string, namespaced bool, one, list func() runtime.Object) rest.Storage {
	resource := schema.GroupResource{Group: group, Resource: plural}
	s := strategy{scheme, names.SimpleNameGenerator, namespaced}
	store := &genericregistry.Store{
		NewFunc: one, NewListFunc: list,
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: attributes}
		},
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: group, Resource: singular},
		CreateStrategy:            s, UpdateStrategy: s, DeleteStrategy: s,
		TableConvertor: rest.NewDefaultTableConvertor(resource),
	}
	utilruntime.Must(store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter, AttrFunc: attributes}))
	return store
}

func attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	m, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	return m.GetLabels(), fields.Set{"metadata.name": m.GetName(), "metadata.namespace": m.GetNamespace()}, nil
}

type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s strategy) NamespaceScoped() bool                                                   { return s.namespaced }
func (strategy) AllowCreateOnUpdate() bool                                                 { return false }
func (strategy) AllowUnconditionalUpdate() bool                                            { return true }
func (strategy) Canonicalize(runtime.Object)                                               {}
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string                 { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string { return nil }

func (strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetGeneration(1)
	}
}

func (strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	m, err := meta.Accessor(object)
	before, oldErr := meta.Accessor(old)
	if err == nil && oldErr == nil {
		m.SetGeneration(before.GetGeneration() + 1)
	}
}

// Validate holds slices to the limits that a resolver may rely on.
func (strategy) Validate(_ context.Context, object runtime.Object) field.ErrorList {
	var errs field.ErrorList
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return errs
	}
	switch slice.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("addressType"), slice.AddressType, []string{"IPv4", "IPv6", "FQDN"}))
	}
	if len(slice.Endpoints) > 1000 {
		errs = append(errs, field.TooMany(field.NewPath("endpoints"), len(slice.Endpoints), 1000))
	}
	return errs
}

func (s strategy) ValidateUpdate(ctx context.Context, object, old runtime.Object) field.ErrorList {
	errs := s.Validate(ctx, object)
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if before, same := old.(*discoveryv1.EndpointSlice); ok && same && slice.AddressType != before.AddressType {
		errs = append(errs, field.Invalid(field.NewPath("addressType"), slice.AddressType, "field is immutable"))
	}
	return errs
}
