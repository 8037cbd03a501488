# A bundle as an OCI artifact: docker build -f k8s/bundle.Dockerfile -t eventmodel-bundle:VERSION work/bundle
FROM busybox:1.37.0
COPY . /bundle
USER 10001:10001
