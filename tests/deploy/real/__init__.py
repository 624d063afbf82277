"""Parts of the deployment as their makers wrote them, built here: `make test-deploy`."""
