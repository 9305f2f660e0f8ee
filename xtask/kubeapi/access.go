package main

import (
	"context"
	"slices"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	authunion "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// authentication knows the bearer tokens of a file; a request without one is anonymous, one with an unknown token is refused (401).
func authentication(tokens string) authenticator.Request {
	var known []authenticator.Request
	if tokens != "" {
		file, err := tokenfile.NewCSV(tokens)
		utilruntime.Must(err)
		known = append(known, bearertoken.New(file))
	}
	all := group.NewAuthenticatedGroupAdder(authunion.NewFailOnError(known...))
	return authunion.NewFailOnError(all, anonymous.NewAuthenticator(nil))
}

// authorization: a member of `denied` may do nothing, one of `readonly` may only read, one of `no-watch` may not watch (and so on for
// each verb and each resource, as `no-configmaps`), everybody else may do everything. Refusals (403) are worded by the library, as in a
// cluster.
var authorization = authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	groups := a.GetUser().GetGroups()
	refused := slices.Contains(groups, "denied") || slices.Contains(groups, "no-"+a.GetVerb()) || slices.Contains(groups, "no-"+a.GetResource()) ||
		slices.Contains(groups, "readonly") && !a.IsReadOnly()
	if refused {
		return authorizer.DecisionDeny, "", nil
	}
	return authorizer.DecisionAllow, "", nil
})
