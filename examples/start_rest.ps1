# Asks over REST for the tasks with a tag; Windows PowerShell 5.1 and PowerShell 7.
#
#   $env:BUTLER_TOKEN = '...'
#   .\start_rest.ps1 -RequestId erp-4711 -Tag daily-reports -Butler https://butler.example.com:8443
#
# Run it again with the same id whenever in doubt: the tasks are started once.
# This file is ASCII: PowerShell 5.1 reads a file without byte order mark in the code page of Windows.
#Requires -Version 5.1
param(
    [Parameter(Mandatory = $true)] [string] $RequestId,
    [Parameter(Mandatory = $true)] [string[]] $Tag,
    [string] $Butler = 'http://localhost:8080',
    [string] $Token = $env:BUTLER_TOKEN
)
$ErrorActionPreference = 'Stop'

# .NET of an older Windows offers TLS 1.0 alone unless it is told otherwise.
[Net.ServicePointManager]::SecurityProtocol =
    [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12

# @() keeps an array of one an array; -Depth is 2 if nobody says otherwise, and deeper values become text.
$json = @{ tag = @($Tag) } | ConvertTo-Json -Compress -Depth 16
# Bytes, since PowerShell 5.1 sends text as ISO-8859-1.
$body = [Text.Encoding]::UTF8.GetBytes($json)

$headers = @{ 'Idempotency-Key' = $RequestId }
if ($Token) { $headers['Authorization'] = "Bearer $Token" }

# An answer that is not 2xx is an error, which ends the script with 1.
# A loop, since -MaximumRetryCount is there from PowerShell 6 on only.
foreach ($pause in 1, 2, 4, 8, 0) {
    try {
        $reply = Invoke-RestMethod -Method Post -Uri "$Butler/v4/reloadtask/start" `
            -ContentType 'application/json; charset=utf-8' -Headers $headers -Body $body -TimeoutSec 90
        break
    } catch {
        # No answer, too many requests, or trouble of the server: sent again, with the same id.
        $status = 0
        if ($_.Exception.Response) { $status = [int] $_.Exception.Response.StatusCode }
        if ($pause -eq 0 -or ($status -ge 400 -and $status -lt 500 -and $status -ne 408 -and $status -ne 429)) {
            throw
        }
        Start-Sleep -Seconds $pause
    }
}
$reply | ConvertTo-Json -Depth 16
# Longer than restWaitSeconds: it is on disk and will be carried out; run again, the script gets the reply.
if ($reply.status -eq 'accepted') { exit 75 }
if ($reply.status -ne 'ok') { exit 1 }
