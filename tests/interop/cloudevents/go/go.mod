module headgate/interop

go 1.22

require github.com/cloudevents/sdk-go/v2 v2.15.2
