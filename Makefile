# make          the program, with the one for the Pi inside: bin/clusterctrl
# make demo     builds a sample cluster's images into out/demo
# make test     tests every package, after installing or naming what that needs
# make test-machines  boots whole systems of every kind, which takes longer
# make lint     checks the source without running it
# make test-powercut  cuts the power at thousands of moments of a first boot
# make bench    prints how fast it is beside what users would run instead; as root
# make release  the program for Linux, macOS and Windows

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOFLAGS_PI := -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION)"
PAYLOAD := internal/image/payload/bin
SOURCES := $(shell find cmd internal -name '*.go' -not -name '*_test.go') $(shell find internal/tree/recipe/files internal/image/sample/sample.img.xz -type f) go.mod go.sum

export CGO_ENABLED = 0

.PHONY: all payload demo test test-machines test-powercut lint bench release clean

all: bin/clusterctrl

PACKED := $(foreach arch,armhf arm64,$(PAYLOAD)/clusterctrl-$(arch).zst $(PAYLOAD)/reconfig-clusterctrl-$(arch).zst)

bin/clusterctrl: $(SOURCES) $(PACKED)
	go build -tags payload $(GOFLAGS_PI) -o $@ ./cmd/clusterctrl

payload: $(PACKED)

.SECONDARY: # keep bin/pi: the tests compare with it

# The first Pi and the Zero are ARMv6.
bin/pi/%-armhf: $(SOURCES)
	GOOS=linux GOARCH=arm GOARM=6 go build $(GOFLAGS_PI) -o $@ ./cmd/$*

bin/pi/%-arm64: $(SOURCES)
	GOOS=linux GOARCH=arm64 go build $(GOFLAGS_PI) -o $@ ./cmd/$*

$(PAYLOAD)/%.zst: bin/pi/%
	mkdir -p $(PAYLOAD)
	go run ./internal/image/payload/pack $< $@

release: payload
	GOOS=linux GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-linux-amd64 ./cmd/clusterctrl
	GOOS=linux GOARCH=arm64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-linux-arm64 ./cmd/clusterctrl
	GOOS=darwin GOARCH=arm64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-macos-arm64 ./cmd/clusterctrl
	GOOS=darwin GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-macos-amd64 ./cmd/clusterctrl
	GOOS=windows GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-windows-amd64.exe ./cmd/clusterctrl

demo: bin/clusterctrl
	mkdir -p out/demo
	bin/clusterctrl build sample --nodes 4 --force -o out/demo
	@echo
	@echo "What makes p1 differ from the controller:"
	bin/clusterctrl build sample --nodes 1 --no-nat --dry-run --quiet | sed -n '/-p1.img: /,$$p'

# Every package, each with what judges it, and one boot of a whole system. A tool
# that a test needs and that is missing fails it. Base images are made beside the
# checks of the source. A machine that a test boots is given up when it is silent
# for long; the time-out is for what hangs otherwise.
test: payload bin/clusterctrl
	test/tools.sh
	$(MAKE) -j3 base-bookworm base-trixie kernel-amd64 kernel-arm64 kernel-armel lint
	go test -tags payload -short -timeout 3h ./...

# What tests boot, made or fetched where it is not there yet.
base-%:
	test/base/cached.sh $*.img
kernel-%:
	internal/lab/labtest/kernel.sh $*

# Every test that boots whole systems: roles, clusters, power cuts.
test-machines: payload bin/clusterctrl
	test/tools.sh
	go test -tags payload -timeout 6h ./test/boot

# What can be said of the source without running it, for every system it is for.
lint: payload
	gofmt -l cmd internal test bench | (! grep .)
	GOOS=linux go vet -tags payload ./...
	GOOS=darwin go vet ./cmd/...
	GOOS=windows go vet ./cmd/...
	GOOS=linux GOARCH=arm GOARM=6 go vet ./cmd/...
	GOOS=darwin go build -o /dev/null ./cmd/clusterctrl
	GOOS=windows go build -o /dev/null ./cmd/clusterctrl
	go tool -modfile=tools/go.mod staticcheck -tags payload ./...

# Cuts the power at every flush of a first boot, and anywhere between them.
test-powercut: payload bin/clusterctrl
	test/tools.sh
	go test ./test/boot -tags payload -run TestPowerCuts -all -subsets 200 -v -timeout 24h

# Every part, which takes half an hour; go run ./bench -h names them.
bench: bin/clusterctrl
	test/tools.sh
	go run ./bench

clean:
	rm -rf bin out $(PAYLOAD)
