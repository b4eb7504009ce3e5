// The V1 family keeps its historic name on the wire (tentacle-protocol.md 1.10). Assembly: Octopus.Shared.
namespace Octopus.Shared.Contracts
{
    public class UploadResult
    {
        public string FullPath { get; set; }
        public string Hash { get; set; }
        public long Length { get; set; }
    }
}
