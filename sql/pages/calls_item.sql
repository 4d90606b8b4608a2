{
    'id': id, 'call_sid': call_sid, 'direction': direction, 'status': status,
    'from_number': from_number, 'to_number': to_number, 'phone_number': phone_number,
    'duration': duration, 'duration_seconds': duration_seconds, 'cost': cost,
    'summary': summary, 'transcript': transcript, 'recording_url': recording_url, 'provider': provider,
    'started_at': iso(started_at), 'ended_at': iso(ended_at), 'created_at': iso(created_at),
    'assistant_id': assistant_id, 'metadata': metadata
}
