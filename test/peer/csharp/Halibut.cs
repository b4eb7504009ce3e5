// The envelopes, as classes with the names that $type carries (tentacle-protocol.md 1.10, 1.11).
// Assembly: Halibut. Written for Octavo's tests from the protocol's description.
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.Serialization;
using Newtonsoft.Json;

namespace Halibut
{
    // A stand-in for bytes behind the message. Those met while (de)serialising are collected in order.
    public class DataStream
    {
        [ThreadStatic] static List<DataStream> met;

        public static List<DataStream> Collect()
        {
            met = new List<DataStream>();
            return met;
        }

        [JsonProperty("id")] public Guid Id { get; set; }
        [JsonProperty("length")] public long Length { get; set; }
        [JsonIgnore] public string Path { get; set; }

        public static DataStream FromFile(string path)
        {
            return new DataStream { Id = Guid.NewGuid(), Length = new FileInfo(path).Length, Path = path };
        }

        [OnSerializing] internal void Leaving(StreamingContext _) { if (met != null) met.Add(this); }
        [OnDeserialized] internal void Arrived(StreamingContext _) { if (met != null) met.Add(this); }
    }

    public class ServiceEndPoint
    {
        public TimeSpan PollingRequestQueueTimeout { get; set; }
        public string BaseUri { get; set; }
        public string RemoteThumbprint { get; set; }
        public bool IsWebSocketEndpoint { get; set; }
    }
}

namespace Halibut.Transport.Protocol
{
    public class RequestMessage
    {
        [JsonProperty("id")] public string Id { get; set; }
        [JsonProperty("activityId")] public Guid ActivityId { get; set; }
        [JsonProperty("endpoint")] public ServiceEndPoint Destination { get; set; }
        [JsonProperty("service")] public string ServiceName { get; set; }
        [JsonProperty("method")] public string MethodName { get; set; }
        [JsonProperty("params")] public object[] Params { get; set; }
    }

    public class ResponseMessage
    {
        [JsonProperty("id")] public string Id { get; set; }
        [JsonProperty("error")] public ServerError Error { get; set; }
        [JsonProperty("result")] public object Result { get; set; }
    }

    public class ServerError
    {
        [JsonProperty("message")] public string Message { get; set; }
        [JsonProperty("details")] public string Details { get; set; }
        public string HalibutErrorType { get; set; }
    }
}
