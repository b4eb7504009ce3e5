// One connection: lines, messages, data streams (tentacle-protocol.md 1.4 to 1.12).
using System;
using System.Collections.Generic;
using System.IO;
using System.IO.Compression;
using System.Linq;
using System.Net.Security;
using System.Text;
using Halibut;
using Halibut.Transport.Protocol;
using Newtonsoft.Json;
using Newtonsoft.Json.Bson;

namespace OctavoPeer
{
    class Envelope
    {
        public object Message { get; set; }
    }

    // Gives one byte at a time, so that DeflateStream never takes what follows the message.
    class OneByteStream : Stream
    {
        readonly Stream inner;
        public OneByteStream(Stream inner) { this.inner = inner; }
        public override int Read(byte[] buffer, int offset, int count) { return inner.Read(buffer, offset, Math.Min(count, 1)); }
        public override bool CanRead { get { return true; } }
        public override bool CanSeek { get { return false; } }
        public override bool CanWrite { get { return false; } }
        public override long Length { get { throw new NotSupportedException(); } }
        public override long Position { get { throw new NotSupportedException(); } set { throw new NotSupportedException(); } }
        public override void Flush() { }
        public override long Seek(long offset, SeekOrigin origin) { throw new NotSupportedException(); }
        public override void SetLength(long value) { throw new NotSupportedException(); }
        public override void Write(byte[] buffer, int offset, int count) { throw new NotSupportedException(); }
    }

    class Wire
    {
        readonly SslStream stream; // for writing: each line and message is a write of its own
        readonly Stream input;     // for reading everything, so that no byte is lost between lines, messages and streams
        readonly string temp;
        static readonly JsonSerializer serializer = JsonSerializer.Create(new JsonSerializerSettings
        {
            TypeNameHandling = TypeNameHandling.Auto,
            DateTimeZoneHandling = DateTimeZoneHandling.Utc
        });

        public Wire(SslStream stream, string temp)
        {
            this.stream = stream;
            input = new BufferedStream(stream, 16384);
            this.temp = temp;
        }

        int Next()
        {
            var b = input.ReadByte();
            if (b < 0) throw new EndOfStreamException();
            return b;
        }

        // Reads up to an empty line; what does not begin with MX is no peer.
        public bool ReadPreamble()
        {
            var text = new StringBuilder();
            while (text.Length < 20000)
            {
                var b = Next();
                if (b == '\r') continue;
                if (b == '\n' && text.Length > 0 && text[text.Length - 1] == '\n') return text.ToString().StartsWith("MX");
                text.Append((char)b);
            }
            return false;
        }

        public void WritePage()
        {
            var page = "<html><body><p>Test peer configured and running</p></body></html>";
            Write("HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: " + page.Length + "\r\n\r\n" + page);
        }

        public void WritePreamble() { Write("MX" + Environment.NewLine + Environment.NewLine); }

        // Two lines in one write, as an identity and its empty line must go.
        public void WriteIdentity(string line) { Write(line + "\r\n\r\n"); }

        public void WriteLine(string line) { Write(line + "\r\n"); }

        void Write(string text)
        {
            var bytes = new UTF8Encoding(false).GetBytes(text);
            stream.Write(bytes, 0, bytes.Length);
            stream.Flush();
        }

        public string ReadLine()
        {
            var line = new List<byte>();
            while (line.Count < 4096)
            {
                var b = Next();
                if (b == '\n') throw new InvalidDataException("LF without CR in a control line");
                if (b == '\r')
                {
                    if (Next() != '\n') throw new InvalidDataException("CR without LF in a control line");
                    return Encoding.UTF8.GetString(line.ToArray());
                }
                line.Add((byte)b);
            }
            throw new InvalidDataException("control line too long");
        }

        public string[] ReadIdentity()
        {
            var line = ReadLine();
            if (ReadLine() != "") throw new InvalidDataException("no empty line after " + line);
            return line.Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);
        }

        public string ReadWord()
        {
            for (;;)
            {
                var line = ReadLine();
                if (line != "") return line;
            }
        }

        public T ReadMessage<T>() where T : class
        {
            var document = new MemoryStream();
            using (var inflate = new DeflateStream(new OneByteStream(input), CompressionMode.Decompress, true)) inflate.CopyTo(document);
            if (document.Length == 0) throw new EndOfStreamException();
            document.Position = 0;
            var streams = DataStream.Collect();
            Envelope envelope;
            using (var reader = new BsonReader(document)) envelope = serializer.Deserialize<Envelope>(reader);
            ReadStreams(streams);
            return (T)envelope.Message;
        }

        public void WriteMessage(object message)
        {
            var document = new MemoryStream();
            var streams = DataStream.Collect();
            using (var deflate = new DeflateStream(document, CompressionMode.Compress, true))
            using (var writer = new BsonWriter(deflate) { CloseOutput = false })
                serializer.Serialize(writer, new Envelope { Message = message });
            var bytes = document.ToArray();
            stream.Write(bytes, 0, bytes.Length);
            stream.Flush();
            foreach (var s in streams) WriteStream(s);
        }

        void WriteStream(DataStream s)
        {
            var length = BitConverter.GetBytes(s.Length);
            stream.Write(s.Id.ToByteArray(), 0, 16);
            stream.Write(length, 0, 8);
            using (var file = File.OpenRead(s.Path)) file.CopyTo(stream, 65536);
            stream.Write(length, 0, 8);
            stream.Flush();
        }

        void ReadStreams(List<DataStream> announced)
        {
            foreach (var _ in announced.ToArray())
            {
                var id = new Guid(ReadExactly(16));
                var length = BitConverter.ToInt64(ReadExactly(8), 0);
                var s = announced.SingleOrDefault(x => x.Id == id);
                if (s == null || s.Length != length) throw new InvalidDataException("unannounced data stream " + id);
                s.Path = Path.Combine(temp, "stream-" + Guid.NewGuid().ToString("N"));
                var buffer = new byte[65536];
                using (var file = File.Create(s.Path))
                {
                    for (var left = length; left > 0;)
                    {
                        var n = input.Read(buffer, 0, (int)Math.Min(left, buffer.Length));
                        if (n == 0) throw new EndOfStreamException();
                        file.Write(buffer, 0, n);
                        left -= n;
                    }
                }
                if (BitConverter.ToInt64(ReadExactly(8), 0) != length) throw new InvalidDataException("the lengths of " + id + " differ");
            }
        }

        byte[] ReadExactly(int count)
        {
            var bytes = new byte[count];
            for (var have = 0; have < count;)
            {
                var n = input.Read(bytes, have, count - have);
                if (n == 0) throw new EndOfStreamException();
                have += n;
            }
            return bytes;
        }
    }
}
