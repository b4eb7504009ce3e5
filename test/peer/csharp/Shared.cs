// The V1 family keeps its historic names on the wire (tentacle-protocol.md 1.10, 2.4). Assembly: Octopus.Shared.
using System;
using System.Collections.Generic;
using Newtonsoft.Json;
using Octopus.Tentacle.Contracts;

namespace Octopus.Shared.Contracts
{
    public class UploadResult
    {
        public string FullPath { get; set; }
        public string Hash { get; set; }
        public long Length { get; set; }
    }

    public class ScriptTicket
    {
        public ScriptTicket(string taskId) { TaskId = taskId; }
        public string TaskId { get; private set; }
    }

    public class StartScriptCommand
    {
        [JsonConstructor]
        public StartScriptCommand(string scriptBody, ScriptIsolationLevel isolation, TimeSpan scriptIsolationMutexTimeout,
            string isolationMutexName, string[] arguments, string taskId)
        {
            ScriptBody = scriptBody;
            Isolation = isolation;
            ScriptIsolationMutexTimeout = scriptIsolationMutexTimeout;
            IsolationMutexName = isolationMutexName;
            Arguments = arguments;
            TaskId = taskId;
            Scripts = new Dictionary<ScriptType, string>();
            Files = new List<ScriptFile>();
        }

        public string ScriptBody { get; private set; }
        public ScriptIsolationLevel Isolation { get; private set; }
        public TimeSpan ScriptIsolationMutexTimeout { get; private set; }
        public string IsolationMutexName { get; private set; }
        public string[] Arguments { get; private set; }
        public string TaskId { get; private set; }
        public Dictionary<ScriptType, string> Scripts { get; private set; }
        public List<ScriptFile> Files { get; private set; }
    }

    public class ScriptStatusRequest
    {
        public ScriptStatusRequest(ScriptTicket ticket, long lastLogSequence)
        {
            Ticket = ticket;
            LastLogSequence = lastLogSequence;
        }

        public ScriptTicket Ticket { get; private set; }
        public long LastLogSequence { get; private set; }
    }

    public class CancelScriptCommand
    {
        public CancelScriptCommand(ScriptTicket ticket, long lastLogSequence)
        {
            Ticket = ticket;
            LastLogSequence = lastLogSequence;
        }

        public ScriptTicket Ticket { get; private set; }
        public long LastLogSequence { get; private set; }
    }

    public class CompleteScriptCommand
    {
        public CompleteScriptCommand(ScriptTicket ticket, long lastLogSequence)
        {
            Ticket = ticket;
            LastLogSequence = lastLogSequence;
        }

        public ScriptTicket Ticket { get; private set; }
        public long LastLogSequence { get; private set; }
    }

    public class ScriptStatusResponse
    {
        public ScriptTicket Ticket { get; set; }
        public List<ProcessOutput> Logs { get; set; }
        public long NextLogSequence { get; set; }
        public ProcessState State { get; set; }
        public int ExitCode { get; set; }
    }
}
